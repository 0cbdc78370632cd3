"""The providers of cloud instances; a server on computers of its own needs none of them."""
