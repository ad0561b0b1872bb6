"""The server: an SMTP front that runs policy while the client waits and relays inside the same transaction.

The nouns: a **session** is one client connection; a **transaction** is one MAIL FROM with its recipients and message; a
**phase** is where policy may speak; a **validator** speaks there, and its **verdict** carries the **reply**; a
**probe** asks a stranger's exchanger about an address; an **upstream** is the MTA that takes what policy let through.
"""
