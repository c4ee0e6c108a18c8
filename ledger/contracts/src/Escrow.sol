// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @title Escrow: prepaid lanes from payers to providers, drawn down by signed cumulative vouchers.
/// @notice A lane belongs to one payer, one provider and one session signer. Anyone may fill it. The provider draws
/// what the signer's newest voucher allows; the payer takes the rest back after a fixed window, or at once with the
/// provider's consent. There is no owner, no pause, no upgrade and no oracle (A12): a fault is mended by a new
/// deployment, and the lanes here drain by themselves.
/// @dev `claimed` only ever grows, across exits and refills, so no voucher can be used twice and no nonce is needed.
/// The invariants (I1 ...) and attacks (A1 ...) named below are listed in README.md next to this folder.
contract Escrow is EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev One storage slot. `balance` and `claimed` count over the lane's whole life; `balance - claimed` is held
    /// now. `exitAt` is 0 while no exit runs. `epoch` counts closes, so that a consent to an older one is dead (A9).
    struct Lane {
        uint96 balance;
        uint96 claimed;
        uint40 exitAt;
        uint24 epoch;
    }

    bytes32 public constant VOUCHER_TYPEHASH =
        keccak256("Voucher(address payer,address provider,uint96 cumulative)");
    bytes32 public constant CLOSE_TYPEHASH = keccak256(
        "Close(address payer,address provider,address signer,uint24 epoch,uint96 cumulative,uint40 deadline)"
    );
    uint256 public constant MAX_EXIT_DELAY = 30 days;

    /// @dev payer 20 | cumulative 12 | r 32 | vs 32
    uint256 private constant ROW_BYTES = 96;
    uint256 private constant UINT96_MASK = 0xffffffffffffffffffffffff;
    /// @dev Half the order of secp256k1: of the two forms of a signature only the one with the lower s counts (A7).
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice The only token this escrow will ever hold (A8).
    IERC20 public immutable token;
    /// @notice Seconds between the payer's startExit and finishExit: the time a provider has to redeem (A1).
    uint40 public immutable exitDelay;

    mapping(bytes32 laneId => Lane) private _lanes;

    event Deposited(address indexed payer, address indexed provider, address signer, uint256 amount);
    event Redeemed(address indexed provider, uint256 paid, uint256 rows);
    event ExitStarted(address indexed payer, address indexed provider, address signer, uint256 exitAt);
    event ExitCancelled(address indexed payer, address indexed provider, address signer);
    event LaneClosed(
        address indexed payer, address indexed provider, address signer, uint256 toProvider, uint256 toPayer
    );

    error NotAToken(address token);
    error ExitDelayOutOfRange(uint256 exitDelay);
    error NotAParty(address account);
    error ZeroAmount();
    error TokenTookAFee(uint256 arrived, uint256 expected);
    error NotWholeRows(uint256 length);
    error NothingHeld();
    error ExitAlreadyRunning(uint256 exitAt);
    error NoExitRunning();
    error ExitNotDue(uint256 exitAt);
    error ConsentExpired(uint256 deadline);
    error CumulativeOutOfRange(uint256 claimed, uint256 balance);
    error ConsentMissing(address party);

    /// @param token_ An ERC-20 without transfer fees and without rebasing (A11).
    /// @param exitDelay_ Seconds, 1 to 30 days.
    constructor(IERC20 token_, uint40 exitDelay_) EIP712("ComputeFabric Escrow", "1") {
        if (address(token_).code.length == 0) revert NotAToken(address(token_));
        if (exitDelay_ == 0 || exitDelay_ > MAX_EXIT_DELAY) revert ExitDelayOutOfRange(exitDelay_);
        token = token_;
        exitDelay = exitDelay_;
    }

    // --- fill --------------------------------------------------------------------------------------------------------

    /// @notice Add `amount` to a lane, opening it if need be. Whoever pays in, the payer alone gets the rest back.
    /// @dev Never touches `exitAt`: else a stranger's dust could stop a payer's exit for ever (I7).
    function deposit(address payer, address provider, address signer, uint96 amount) external nonReentrant {
        _requireParty(payer);
        _requireParty(provider);
        // A failed signature recovery yields the zero address; the lane it names must never hold anything (A10).
        _requireParty(signer);
        if (amount == 0) revert ZeroAmount();
        _lanes[laneId(payer, provider, signer)].balance += amount;
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 arrived = token.balanceOf(address(this)) - before;
        // The books must equal the tokens at hand (I1), which a token that keeps a fee would break (A11).
        if (arrived != amount) revert TokenTookAFee(arrived, amount);
        emit Deposited(payer, provider, signer, amount);
    }

    // --- draw --------------------------------------------------------------------------------------------------------

    /// @notice Pay `provider` what the vouchers in `packed` allow beyond what their lanes have paid already.
    /// @dev Anyone may send this, so a watchtower can save an offline provider (A1); the money goes to `provider` only.
    /// A row that is forged, stale or unfunded pays nothing and one that asks too much pays what is there: no payer can
    /// make a batch revert (A3, I10), and what a voucher could not draw stays drawable after a refill (I5).
    /// @param packed Rows of 96 bytes: payer 20, cumulative 12, r 32, vs 32 (EIP-2098).
    /// @return paid What `provider` received.
    function redeemMany(address provider, bytes calldata packed) external nonReentrant returns (uint256 paid) {
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
        if (paid != 0) token.safeTransfer(provider, paid);
        emit Redeemed(provider, paid, rows);
    }

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

    // --- leave -------------------------------------------------------------------------------------------------------

    /// @notice The payer alone: start the window after which the rest of the lane comes back.
    function startExit(address provider, address signer) external {
        Lane storage lane_ = _lanes[laneId(msg.sender, provider, signer)];
        if (lane_.exitAt != 0) revert ExitAlreadyRunning(lane_.exitAt);
        if (lane_.balance == lane_.claimed) revert NothingHeld();
        uint40 exitAt = uint40(block.timestamp) + exitDelay;
        lane_.exitAt = exitAt;
        emit ExitStarted(msg.sender, provider, signer, exitAt);
    }

    /// @notice The payer alone: stop a running exit. The next one gets a whole window again (I8).
    function cancelExit(address provider, address signer) external {
        Lane storage lane_ = _lanes[laneId(msg.sender, provider, signer)];
        if (lane_.exitAt == 0) revert NoExitRunning();
        lane_.exitAt = 0;
        emit ExitCancelled(msg.sender, provider, signer);
    }

    /// @notice Anyone, once the window is over: pay the payer what the provider has not drawn (I6).
    function finishExit(address payer, address provider, address signer) external nonReentrant {
        Lane storage lane_ = _lanes[laneId(payer, provider, signer)];
        if (lane_.exitAt == 0) revert NoExitRunning();
        if (block.timestamp < lane_.exitAt) revert ExitNotDue(lane_.exitAt);
        _close(lane_, payer, provider, signer, lane_.claimed);
    }

    /// @notice Close a lane at once, split at `cumulative`, with the consent of both payer and provider (I9).
    /// @dev A party that sends the transaction consents by sending it, and its signature is not looked at. The session
    /// signer's key cannot consent for the payer: it may spend the lane, not end it. Consents are signatures over
    /// {closeDigest}, of 64 (EIP-2098) or 65 bytes, bound to the lane's epoch and to a deadline (A9).
    function closeTogether(
        address payer,
        address provider,
        address signer,
        uint96 cumulative,
        uint40 deadline,
        bytes calldata providerSignature,
        bytes calldata payerSignature
    ) external nonReentrant {
        if (block.timestamp > deadline) revert ConsentExpired(deadline);
        Lane storage lane_ = _lanes[laneId(payer, provider, signer)];
        if (cumulative < lane_.claimed || cumulative > lane_.balance) {
            revert CumulativeOutOfRange(lane_.claimed, lane_.balance);
        }
        bytes32 digest = closeDigest(payer, provider, signer, lane_.epoch, cumulative, deadline);
        _requireConsent(provider, digest, providerSignature);
        _requireConsent(payer, digest, payerSignature);
        _close(lane_, payer, provider, signer, cumulative);
    }

    // --- look --------------------------------------------------------------------------------------------------------

    /// @notice A lane as it stands; all zero when it was never filled.
    function lane(address payer, address provider, address signer)
        external
        view
        returns (uint96 balance, uint96 claimed, uint40 exitAt, uint24 epoch)
    {
        Lane storage lane_ = _lanes[laneId(payer, provider, signer)];
        return (lane_.balance, lane_.claimed, lane_.exitAt, lane_.epoch);
    }

    /// @notice The key of a lane.
    function laneId(address payer, address provider, address signer) public pure returns (bytes32) {
        return keccak256(abi.encodePacked(payer, provider, signer));
    }

    /// @notice What the session signer signs to let `provider` draw `cumulative` in all.
    function voucherDigest(address payer, address provider, uint96 cumulative) external view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, payer, provider, cumulative)));
    }

    /// @notice What payer and provider sign to close a lane together.
    function closeDigest(
        address payer,
        address provider,
        address signer,
        uint24 epoch,
        uint96 cumulative,
        uint40 deadline
    ) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(CLOSE_TYPEHASH, payer, provider, signer, epoch, cumulative, deadline))
        );
    }

    // --- inside ------------------------------------------------------------------------------------------------------

    /// @dev `claimed` grows to `cumulative` or stays; it never restarts at 0, or old vouchers would live again (I3).
    function _close(Lane storage lane_, address payer, address provider, address signer, uint96 cumulative) private {
        uint256 toProvider = cumulative - lane_.claimed;
        uint256 toPayer = lane_.balance - cumulative;
        (lane_.balance, lane_.claimed, lane_.exitAt) = (cumulative, cumulative, 0);
        unchecked {
            // Wraps after 16.7 million closes of one lane: the deadline killed that consent long ago.
            ++lane_.epoch;
        }
        if (toProvider != 0) token.safeTransfer(provider, toProvider);
        if (toPayer != 0) token.safeTransfer(payer, toPayer);
        emit LaneClosed(payer, provider, signer, toProvider, toPayer);
    }

    /// @dev The escrow itself is refused too: what it paid to itself nobody could ever take out.
    function _requireParty(address account) private view {
        if (account == address(0) || account == address(this)) revert NotAParty(account);
    }

    function _requireConsent(address party, bytes32 digest, bytes calldata signature) private view {
        if (msg.sender == party) return;
        (uint8 v, bytes32 r, bytes32 s) = ECDSA.parseCalldata(signature);
        (address recovered, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, v, r, s);
        if (failure != ECDSA.RecoverError.NoError || recovered != party) revert ConsentMissing(party);
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
