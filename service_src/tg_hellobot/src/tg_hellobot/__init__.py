"""Example service: a Telegram bot that says hello. Copy this folder to begin your own."""
