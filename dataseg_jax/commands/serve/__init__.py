"""A model behind HTTP: `command` is `dataseg serve`, `application` the ASGI application, the others are its parts."""
