"""What comes after a parcel: when it can no longer be sent back, its customer is asked, and gets a coin."""

from coordinator.client import Workflow, workflow

RETURN_SECONDS = 14 * 86_400


@workflow("follow-up")
async def follow_up(wf: Workflow, parcel: dict[str, str]) -> None:
    """parcel: the shop's url, and the order's number and customer."""
    shop, number = parcel["shop"], parcel["number"]
    await wf.sleep(RETURN_SECONDS)
    if await wf.patched("ask-how-it-was"):  # came later: who had the coin by then is not asked
        await wf.saga(f"{shop}/mail/branch/send", "", {"text": f"how was order {number}?"})
    coin = {"customer": parcel["customer"], "amount": 1}
    await wf.saga(f"{shop}/payment/branch/give-back", "", coin)
