"""The classic BentoML 0.13 API over dosirak."""
