"""What looking at a large run costs."""
