"""smtp_cbv: SMTP callback verification; passive for scripts, or active in one phase."""
