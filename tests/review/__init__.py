"""What a review says, against plain arithmetic over the calls it is about."""
