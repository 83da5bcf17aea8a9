"""The public test kit: fakes and the contract suites that fakes and real parts pass alike."""
