"""What stages share: how they start and say what they cost, what they read and write, what need not be done twice."""
