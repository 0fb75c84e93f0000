"""Messages to people when something turns red, and when it is over."""
