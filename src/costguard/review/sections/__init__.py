"""The sections of a review. One is a file here and a line in `costguard.review.SECTIONS`."""
