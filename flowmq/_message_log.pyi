class LogSource: ...

class MessageLog:
    until_restart: bool
