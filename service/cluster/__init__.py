"""The engine as an application of Ray Serve, on several machines: `pip install 'gemmule[ray]'`, docs/deploy-ray.md."""
