"""Parts for dhr, made elsewhere. dhr reads the signatures in the source; nothing is imported before it is used."""
