"""dosirak: pack a trained model once; serve it, ship it, score tables with it."""
