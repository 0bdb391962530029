"""A shop of four small services: what an order changes in all of them happens in all, or in none.

    dtm                        # a coordinator, in another terminal
    python -m examples.shop

`DTM_URL=sqlite:///shop-data/dtm.db` has the coordinator inside, and needs no other program.

Address, port and folder come from the environment (`settings.py`): DTM_URL, SHOP_HOST, SHOP_PORT, SHOP_DATA.
docs/client/tutorial.md goes through it step by step; `python -m pytest examples/shop` runs its tests.
"""
