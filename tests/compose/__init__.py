"""The containers: `docker-compose.yml` and `deploy/Dockerfile`, unchanged, as an operator uses them. `make compose-test`."""
