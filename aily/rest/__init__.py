"""What all REST operations share: the API object, JSON input, ETags, pages, OpenAPI."""
