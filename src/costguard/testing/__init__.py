"""Tools for testing a program that costguard guards."""
