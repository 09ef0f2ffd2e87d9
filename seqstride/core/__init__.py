"""Where frames go, and the mathematics that moves them."""
