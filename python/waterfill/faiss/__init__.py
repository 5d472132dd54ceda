"""To and from FAISS. Nothing here imports it before it is needed."""
