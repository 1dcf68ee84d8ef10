"""What tests share: worlds on a clock, real servers and processes."""
