"""mail_loop: mail that has passed too many servers, or that comes from this machine itself."""
