"""The demo office's outside world: its mail servers, the people who write to it, and who works there.

Nothing here knows Django. `office.toml` is a provisioning file, `office` reads it, `servers` runs real
IMAP and SMTP servers on the loopback address, `correspondence` is what people write, `letters` is how their
mail arrives at the forward mailbox, and `outside` is what becomes of mail that the office sends them.
"""
