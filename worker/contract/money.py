"""How amounts are written for people."""


def money(usd: float) -> str:
    """Return an amount: cents below 100 $; below 10 cents their tenths, since a job may cost less than a cent."""
    if 0 < usd < 0.0005:
        return "<0.001 $"
    if 0 < usd < 0.0995:
        return f"{f'{usd:.3f}'.removesuffix('0')} $"
    return f"{usd:,.2f} $" if usd < 100 else f"{usd:,.0f} $"
