"""HTTP only: routers, body limits, the error envelope, the SSE writer. No decisions."""
