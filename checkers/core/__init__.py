"""What every checker is made of: verdict, budget, vocabulary, findings and witnesses."""
