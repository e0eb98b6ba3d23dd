"""`rhobeta compare`: what runs differ in, in words, in numbers and in pictures."""
