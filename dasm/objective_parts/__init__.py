"""What objectives are made of and several share: batches, features, networks that move while pixels do."""
