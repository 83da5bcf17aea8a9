"""A real identity provider for the tests: oidc-provider, certified by the OpenID Foundation, as a child process."""
