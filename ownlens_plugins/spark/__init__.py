"""Loads on a Spark cluster. Imported only when a load asks for it; nothing else of OwnLens imports pyspark."""
