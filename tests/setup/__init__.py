"""Configuration, `costguard run`, and the doctor, as a user meets them."""
