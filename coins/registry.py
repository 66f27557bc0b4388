"""The coins themselves, as data. To add one, add a record and its known answers to the tests.

Sources: chainparams.cpp of Bitcoin Core and Litecoin Core.
"""

from dataclasses import replace
from types import MappingProxyType
from typing import Final

from coins.coin import Algorithm, Coin
from coins.errors import UnknownCoin

_BITCOIN: Final = Coin(
    coin_id="bitcoin",
    name="Bitcoin",
    ticker="BTC",
    network="main",
    algorithm=Algorithm.SHA256D,
    diff1_target=0xFFFF << 208,
    block_interval_s=600,
    subsidy_initial_atomic=50 * 10**8,
    halving_interval_blocks=210_000,
    p2pkh_version=0,
    p2sh_versions=(5,),
    bech32_hrp="bc",
    template_rules=("segwit",),
    message_magic="Bitcoin Signed Message:\n",
    explorer_tx_url="https://mempool.space/tx/{txid}",
    explorer_block_url="https://mempool.space/block/{hash}",
    explorer_address_url="https://mempool.space/address/{address}",
)

_BITCOIN_TESTNET: Final = replace(
    _BITCOIN,
    coin_id="bitcoin-testnet",
    name="Bitcoin testnet",
    ticker="tBTC",
    network="test",
    p2pkh_version=111,
    p2sh_versions=(196,),
    bech32_hrp="tb",
    explorer_tx_url="https://mempool.space/testnet/tx/{txid}",
    explorer_block_url="https://mempool.space/testnet/block/{hash}",
    explorer_address_url="https://mempool.space/testnet/address/{address}",
)

_BITCOIN_SIGNET: Final = replace(
    _BITCOIN_TESTNET,
    coin_id="bitcoin-signet",
    name="Bitcoin signet",
    ticker="sBTC",
    network="signet",
    template_rules=("segwit", "signet"),
    explorer_tx_url="https://mempool.space/signet/tx/{txid}",
    explorer_block_url="https://mempool.space/signet/block/{hash}",
    explorer_address_url="https://mempool.space/signet/address/{address}",
)

_BITCOIN_REGTEST: Final = replace(
    _BITCOIN_TESTNET,
    coin_id="bitcoin-regtest",
    name="Bitcoin regtest",
    ticker="rBTC",
    network="regtest",
    halving_interval_blocks=150,
    bech32_hrp="bcrt",
    explorer_tx_url=None,
    explorer_block_url=None,
    explorer_address_url=None,
)

_LITECOIN: Final = Coin(
    coin_id="litecoin",
    name="Litecoin",
    ticker="LTC",
    network="main",
    algorithm=Algorithm.SCRYPT,
    diff1_target=0xFFFF << 224,
    block_interval_s=150,
    subsidy_initial_atomic=50 * 10**8,
    halving_interval_blocks=840_000,
    p2pkh_version=48,
    p2sh_versions=(50, 5),
    bech32_hrp="ltc",
    template_rules=("mweb", "segwit"),
    has_mweb=True,
    message_magic="Litecoin Signed Message:\n",
    explorer_tx_url="https://litecoinspace.org/tx/{txid}",
    explorer_block_url="https://litecoinspace.org/block/{hash}",
    explorer_address_url="https://litecoinspace.org/address/{address}",
)

_LITECOIN_TESTNET: Final = replace(
    _LITECOIN,
    coin_id="litecoin-testnet",
    name="Litecoin testnet",
    ticker="tLTC",
    network="test",
    p2pkh_version=111,
    p2sh_versions=(58, 196),
    bech32_hrp="tltc",
    explorer_tx_url="https://litecoinspace.org/testnet/tx/{txid}",
    explorer_block_url="https://litecoinspace.org/testnet/block/{hash}",
    explorer_address_url="https://litecoinspace.org/testnet/address/{address}",
)

_LITECOIN_REGTEST: Final = replace(
    _LITECOIN_TESTNET,
    coin_id="litecoin-regtest",
    name="Litecoin regtest",
    ticker="rLTC",
    network="regtest",
    halving_interval_blocks=150,
    bech32_hrp="rltc",
    explorer_tx_url=None,
    explorer_block_url=None,
    explorer_address_url=None,
)

_COINS: Final = (
    _LITECOIN,
    _LITECOIN_TESTNET,
    _LITECOIN_REGTEST,
    _BITCOIN,
    _BITCOIN_TESTNET,
    _BITCOIN_SIGNET,
    _BITCOIN_REGTEST,
)
_BY_ID: Final = MappingProxyType({coin.coin_id: coin for coin in _COINS})


def get(coin_id: str) -> Coin:
    """Answer the coin with this identifier.

    Raises:
        UnknownCoin: If there is none; it names those that exist.
    """
    coin = _BY_ID.get(coin_id)
    if coin is None:
        raise UnknownCoin(coin_id, tuple(_BY_ID))
    return coin


def all_coins() -> tuple[Coin, ...]:
    """Answer every coin, main networks before their test networks."""
    return _COINS
