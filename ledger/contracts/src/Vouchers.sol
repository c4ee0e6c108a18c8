// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Vault} from "./Vault.sol";

/// @title Vouchers: the lanes' books, and how a provider draws on them.
/// @dev `claimed` only ever grows, across exits and refills, so no voucher can be used twice and no nonce is needed.
abstract contract Vouchers is Vault {
    /// @dev One storage slot. `balance` and `claimed` count over the lane's whole life; `balance - claimed` is held
    /// now. `exitAt` is 0 while no exit runs. `delay` is the exit's window in steps, 0 only in a lane that was never
    /// filled. `epoch` counts closes and releases, so that a consent to an older one is dead (A9).
    struct Lane {
        uint96 balance;
        uint96 claimed;
        uint40 exitAt;
        uint8 delay;
        uint16 epoch;
    }

    bytes32 public constant VOUCHER_TYPEHASH =
        keccak256("Voucher(address payer,address provider,uint96 cumulative)");
    /// @dev With steps of an hour no lane holds its payer for more than 11 days.
    uint256 public constant MAX_DELAY_STEP = 1 hours;

    /// @dev payer 20 | cumulative 12 | r 32 | vs 32
    uint256 private constant ROW_BYTES = 96;
    uint256 private constant UINT96_MASK = 0xffffffffffffffffffffffff;
    /// @dev Half the order of secp256k1: of the two forms of a signature only the one with the lower s counts (A7).
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Seconds in one step of a lane's delay.
    uint40 public immutable delayStep;

    mapping(bytes32 laneId => Lane) internal _lanes;

    event Redeemed(address indexed provider, uint256 paid, uint256 rows);

    error NotWholeRows(uint256 length);
    error DelayStepOutOfRange(uint256 delayStep);

    /// @param delayStep_ Seconds, 1 to one hour.
    constructor(uint40 delayStep_) {
        if (delayStep_ == 0 || delayStep_ > MAX_DELAY_STEP) revert DelayStepOutOfRange(delayStep_);
        delayStep = delayStep_;
    }

    // --- draw --------------------------------------------------------------------------------------------------------

    /// @notice Pay `provider` what the vouchers in `packed` allow beyond what their lanes have paid already.
    /// @dev Anyone may send this, so a watchtower can save an offline provider (A1); the money goes to `provider` only.
    /// A row that is forged, stale or unfunded pays nothing and one that asks too much pays what is there: no payer can
    /// make a batch revert (A3, I10), and what a voucher could not draw stays drawable after a refill (I5).
    /// @param packed Rows of 96 bytes: payer 20, cumulative 12, r 32, vs 32 (EIP-2098).
    /// @return paid What `provider` received.
    function redeemMany(address provider, bytes calldata packed) external nonReentrant returns (uint256 paid) {
        return _redeem(provider, provider, packed);
    }

    /// @notice As {redeemMany} for the sender's own vouchers, paid out to `to`: an earning key need not hold money.
    function redeemManyTo(address to, bytes calldata packed) external nonReentrant returns (uint256 paid) {
        _requireParty(to);
        return _redeem(msg.sender, to, packed);
    }

    // --- look --------------------------------------------------------------------------------------------------------

    /// @notice What {redeemMany} would pay now for the same rows.
    /// @dev For off-chain calls: compares each row with all before it, as a view cannot write down what it took.
    function previewRedeem(address provider, bytes calldata packed) external view returns (uint256 paid) {
        uint256 rows = _countRows(packed);
        uint256 scratch = _prepareScratch(provider);
        uint256[] memory seen = new uint256[](rows);
        uint256[] memory drawn = new uint256[](rows);
        uint256 lanes;
        for (uint256 i; i < rows; ++i) {
            (uint256 slot, uint256 cumulative) = _readRow(scratch, packed, i);
            Lane storage lane_;
            assembly ("memory-safe") {
                lane_.slot := slot
            }
            uint256 place;
            while (place < lanes && seen[place] != slot) ++place;
            if (place == lanes) {
                (seen[place], drawn[place]) = (slot, lane_.claimed);
                ++lanes;
            }
            if (cumulative > lane_.balance) cumulative = lane_.balance;
            if (cumulative > drawn[place]) {
                paid += cumulative - drawn[place];
                drawn[place] = cumulative;
            }
        }
    }

    /// @notice A lane as it stands; all zero when it was never filled.
    /// @return balance Units put in over the lane's life, less what went back.
    /// @return claimed Units paid to the provider over the lane's life.
    /// @return exitAt UTC second from which the running exit can finish; 0 when none runs.
    /// @return delaySeconds How long the next exit will wait.
    /// @return epoch How many closes and releases there were.
    function lane(address payer, address provider, address signer)
        external
        view
        returns (uint96 balance, uint96 claimed, uint40 exitAt, uint40 delaySeconds, uint16 epoch)
    {
        Lane storage lane_ = _lanes[laneId(payer, provider, signer)];
        return (lane_.balance, lane_.claimed, lane_.exitAt, _seconds(lane_.delay), lane_.epoch);
    }

    /// @notice The key of a lane.
    function laneId(address payer, address provider, address signer) public pure returns (bytes32) {
        return keccak256(abi.encodePacked(payer, provider, signer));
    }

    /// @notice What the session signer signs to let `provider` draw `cumulative` in all.
    function voucherDigest(address payer, address provider, uint96 cumulative) external view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, payer, provider, cumulative)));
    }

    // --- inside ------------------------------------------------------------------------------------------------------

    function _redeem(address provider, address to, bytes calldata packed) private returns (uint256 paid) {
        uint256 rows = _countRows(packed);
        uint256 scratch = _prepareScratch(provider);
        for (uint256 i; i < rows; ++i) {
            (uint256 slot, uint256 cumulative) = _readRow(scratch, packed, i);
            assembly ("memory-safe") {
                let lane := sload(slot)
                let balance_ := and(lane, UINT96_MASK)
                let claimed := and(shr(96, lane), UINT96_MASK)
                if gt(cumulative, balance_) { cumulative := balance_ }
                if gt(cumulative, claimed) {
                    let worth := sub(cumulative, claimed)
                    paid := add(paid, worth)
                    // claimed + worth <= balance < 2^96: the addition cannot carry into exitAt.
                    sstore(slot, add(lane, shl(96, worth)))
                }
            }
        }
        emit Redeemed(provider, paid, rows);
        _pay(to, paid);
    }

    function _seconds(uint256 steps) internal view returns (uint40) {
        return uint40(steps) * delayStep;
    }

    function _countRows(bytes calldata packed) private pure returns (uint256) {
        if (packed.length % ROW_BYTES != 0) revert NotWholeRows(packed.length);
        return packed.length / ROW_BYTES;
    }

    /// @dev Reserve the memory {_readRow} works in and fill in what is the same for every row:
    /// 00 type hash, 20 payer, 40 provider, 60 cumulative | 80 "1901", a0 domain, c0 struct hash | e0 digest, 100 v,
    /// 120 r, 140 s | 160 payer, 174 provider, 188 signer (the lane id's preimage).
    function _prepareScratch(address provider) private view returns (uint256 scratch) {
        bytes32 domain = _domainSeparatorV4();
        bytes32 typehash = VOUCHER_TYPEHASH;
        assembly ("memory-safe") {
            scratch := mload(0x40)
            mstore(0x40, add(scratch, 0x1c0))
            mstore(scratch, typehash)
            mstore(add(scratch, 0x40), provider)
            mstore(add(scratch, 0x80), 0x1901)
            mstore(add(scratch, 0xa0), domain)
        }
    }

    /// @dev Who signed is part of the lane's key. So a signature by anybody but the lane's signer names another lane,
    /// an empty one, and there is nothing to compare and no way to fail. A signature of nobody, or one in its malleable
    /// form, names the lane of signer 0, which {deposit} keeps empty.
    /// @return slot Storage slot of the row's lane.
    /// @return cumulative What the row asks for in all, below 2^96.
    function _readRow(uint256 scratch, bytes calldata packed, uint256 index)
        private
        view
        returns (uint256 slot, uint256 cumulative)
    {
        assembly ("memory-safe") {
            let row := add(packed.offset, mul(index, 96))
            let head := calldataload(row)
            let payer := shr(96, head)
            cumulative := and(head, UINT96_MASK)
            mstore(add(scratch, 0x20), payer)
            mstore(add(scratch, 0x60), cumulative)
            mstore(add(scratch, 0xc0), keccak256(scratch, 0x80))

            let vs := calldataload(add(row, 0x40))
            let s := shr(1, shl(1, vs))
            mstore(add(scratch, 0xe0), keccak256(add(scratch, 0x9e), 0x42))
            mstore(add(scratch, 0x100), add(27, shr(255, vs)))
            mstore(add(scratch, 0x120), calldataload(add(row, 0x20)))
            mstore(add(scratch, 0x140), s)
            // ecrecover leaves the output alone when it fails.
            mstore(0, 0)
            pop(staticcall(gas(), 1, add(scratch, 0xe0), 0x80, 0, 0x20))
            let signer := mul(mload(0), iszero(gt(s, HALF_ORDER)))

            mstore(add(scratch, 0x160), head)
            mstore(add(scratch, 0x174), shl(96, mload(add(scratch, 0x40))))
            mstore(add(scratch, 0x188), shl(96, signer))
            mstore(0, keccak256(add(scratch, 0x160), 60))
            mstore(0x20, _lanes.slot)
            slot := keccak256(0, 0x40)
        }
    }
}
