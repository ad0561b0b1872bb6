"""smtp_cbv: SMTP callback verification, passive for scripts, or active in a phase of its own."""
