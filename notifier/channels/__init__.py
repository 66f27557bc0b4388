"""The ways out: each channel takes one message and says what became of it.

Start with `interface.py`. `email.py` speaks SMTP, `webhook.py` posts signed JSON (`targets.py` decides whom it may
call), `telegram.py` sends to chats. A channel neither knows the database nor tries again: `notifier.sender` does.
May import `notifier`'s pure modules, `notifier.rendering` and `runtime`.
"""
