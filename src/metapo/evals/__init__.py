"""What policies, judges and rubrics are worth: ratings, tournaments, answers, summaries, agreement with labels."""
