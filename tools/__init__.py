"""What builds and checks Gemmule but is no part of it: the Arm emulation, the peer, the locked environment."""
