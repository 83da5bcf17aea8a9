"""The admin side of the gateway: what it shows of its servers, what may be done to them, what happens.

`views` and `operations` are the one place where that is decided; the control socket and the admin API
are two ways to them. FastAPI is imported in `api` alone, which is imported at the first request to it.
"""
