"""The API's reference, made of the routes: an OpenAPI document, and a page of it for people."""
