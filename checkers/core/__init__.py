"""The parts of every checker: verdict, budget, vocabulary, findings and witnesses."""
