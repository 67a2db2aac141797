"""How a review is shown. A format is a file here and a line in `costguard.review.FORMATS`."""
