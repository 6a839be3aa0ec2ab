"""Says what it hears."""

from band import expose, settings, start_server


@expose()
async def echo(word: str = "", **_more: str) -> dict[str, str]:
    """Say a word again."""
    return {"word": word}


start_server(**settings)
