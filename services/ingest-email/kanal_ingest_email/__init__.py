"""E-mail: an SMTP receiver that acknowledges after the journal has the mail, and answers through an SMTP relay."""
