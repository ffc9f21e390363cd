"""Files and folders, and who may write them."""
