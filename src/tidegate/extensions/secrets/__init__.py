"""Secrets: the places where secrets are kept (`tidegate.ports.secrets`), one module each.

`environment` and `files` are what `${env:…}` and `${file:…}` name, `compose` Docker's own secret files,
`helper` the programs that keep credentials for the docker command, `vault` a server that speaks Vault's
API, `store` the encrypted file that `tidegate secret` writes. None of them logs, caches or shows a value.
"""
