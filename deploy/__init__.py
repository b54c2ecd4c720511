"""What operators put beside deskline: monitoring. Not part of the installed package."""
