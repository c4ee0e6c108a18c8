// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {ProviderStake} from "./ProviderStake.sol";
import {Vault} from "./Vault.sol";
import {Vouchers} from "./Vouchers.sol";

/// @title Escrow: prepaid lanes from payers to providers, drawn down by signed cumulative vouchers.
/// @notice A lane belongs to one payer, one provider and one session signer. Anyone may fill it. The provider draws
/// what the signer's newest voucher allows; the payer takes the rest back after the lane's window, or at once with the
/// provider's consent. A provider may also put up a stake, which it forfeits by signing two stories of one thing. There
/// is no owner, no pause, no upgrade and no oracle (A12): a fault is mended by a new deployment, and the lanes here
/// drain by themselves.
/// @dev The invariants (I1 ...) and attacks (A1 ...) named below are listed in README.md next to this folder.
contract Escrow is Vouchers, ProviderStake {
    /// @notice One entry of {depositMany}. `delay` is in steps; 0 leaves the lane's as it is.
    struct Deposit {
        address payer;
        address provider;
        address signer;
        uint96 amount;
        uint8 delay;
    }

    /// @dev What {closeDigest} and {releaseDigest} are over.
    struct Consent {
        address payer;
        address provider;
        address signer;
        uint16 epoch;
        uint96 amount;
        uint40 deadline;
    }

    bytes32 public constant CLOSE_TYPEHASH = keccak256(
        "Close(address payer,address provider,address signer,uint16 epoch,uint96 cumulative,uint40 deadline)"
    );
    bytes32 public constant RELEASE_TYPEHASH = keccak256(
        "Release(address payer,address provider,address signer,uint16 epoch,uint96 newBalance,uint40 deadline)"
    );

    /// @notice Steps of delay of a lane whose payer chose none.
    uint8 public immutable defaultDelay;

    event Deposited(address indexed payer, address indexed provider, address signer, uint256 amount);
    event DelaySet(address indexed payer, address indexed provider, address signer, uint256 delaySeconds);
    event ExitStarted(address indexed payer, address indexed provider, address signer, uint256 exitAt);
    event ExitCancelled(address indexed payer, address indexed provider, address signer);
    event Released(address indexed payer, address indexed provider, address signer, uint256 toPayer);
    event LaneClosed(
        address indexed payer, address indexed provider, address signer, uint256 toProvider, uint256 toPayer
    );

    error NoDefaultDelay();
    error NotThePayer(address payer);
    error DelayMayOnlyGrow(uint256 steps);
    error AuthorizationRefused();
    error AuthorizationSpent();
    error NothingHeld();
    error ExitAlreadyRunning(uint256 exitAt);
    error NoExitRunning();
    error ExitNotDue(uint256 exitAt);
    error ConsentExpired(uint256 deadline);
    error CumulativeOutOfRange(uint256 claimed, uint256 balance);
    error ConsentMissing(address party);

    /// @param token_ An ERC-20 without transfer fees and without rebasing (A11).
    /// @param delayStep_ Seconds in one step of delay, 1 to one hour.
    /// @param defaultDelay_ Steps, 1 to 255, that a payer waits for its money unless it chose otherwise (A1).
    constructor(IERC20 token_, uint40 delayStep_, uint8 defaultDelay_)
        Vault(token_)
        Vouchers(delayStep_)
        // Twice the longest window of a lane: what a provider signed for any lane can still be held against its stake.
        ProviderStake(2 * 255 * delayStep_)
    {
        if (defaultDelay_ == 0) revert NoDefaultDelay();
        defaultDelay = defaultDelay_;
    }

    // --- fill --------------------------------------------------------------------------------------------------------

    /// @notice Add `amount` to a lane, opening it if need be. Whoever pays in, the payer alone gets the rest back.
    function deposit(address payer, address provider, address signer, uint96 amount) external nonReentrant {
        _fill(Deposit(payer, provider, signer, amount, 0));
        _collect(amount);
    }

    /// @notice Fill several lanes with one transfer of tokens. All of it happens, or nothing.
    function depositMany(Deposit[] calldata deposits) external nonReentrant {
        uint256 total;
        for (uint256 i; i < deposits.length; ++i) {
            _fill(deposits[i]);
            total += deposits[i].amount;
        }
        if (total == 0) revert ZeroAmount();
        _collect(total);
    }

    /// @notice {deposit} with the sender's EIP-2612 permit in place of an approval sent before.
    /// @dev Anyone who sees the permit in the pool may use it up first. It is then as good as given, so a permit that
    /// fails is passed over and the allowance decides (A17).
    function depositWithPermit(
        address payer,
        address provider,
        address signer,
        uint96 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        _fill(Deposit(payer, provider, signer, amount, 0));
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _collect(amount);
    }

    /// @notice {deposit} with the payer's EIP-3009 authorization: anyone may send it, and pay for the gas.
    /// @dev The authorization's nonce must be keccak256(laneId, salt): else whoever sends it could turn the payer's
    /// money to a lane of his own. The token takes it from this contract only, so it can be spent on this lane alone.
    /// When the token does not take it, the payer itself may still pay by allowance (A17), but not when it was taken
    /// before: somebody else has then sent it, the money is in the lane, and would be paid twice.
    function depositWithAuthorization(
        address payer,
        address provider,
        address signer,
        uint96 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        _fill(Deposit(payer, provider, signer, amount, 0));
        bytes32 nonce = keccak256(abi.encode(laneId(payer, provider, signer), salt));
        IERC3009 source = IERC3009(address(token));
        uint256 before = _held();
        try source.receiveWithAuthorization(payer, address(this), amount, validAfter, validBefore, nonce, v, r, s) {
            _requireArrived(before, amount);
        } catch {
            if (msg.sender != payer) revert AuthorizationRefused();
            if (_isSpent(payer, nonce)) revert AuthorizationSpent();
            _collect(amount);
        }
    }

    // --- leave -------------------------------------------------------------------------------------------------------

    /// @notice The payer alone: start the window after which the rest of the lane comes back.
    function startExit(address provider, address signer) external {
        Lane storage lane_ = _lanes[laneId(msg.sender, provider, signer)];
        if (lane_.exitAt != 0) revert ExitAlreadyRunning(lane_.exitAt);
        if (lane_.balance == lane_.claimed) revert NothingHeld();
        uint40 exitAt = uint40(block.timestamp) + _seconds(lane_.delay);
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
        Lane storage lane_ = _requireRange(payer, provider, signer, cumulative, deadline);
        bytes32 digest = closeDigest(payer, provider, signer, lane_.epoch, cumulative, deadline);
        _requireConsent(provider, digest, providerSignature);
        _requireConsent(payer, digest, payerSignature);
        _close(lane_, payer, provider, signer, cumulative);
    }

    /// @notice The payer alone, with the provider's consent: take back at once what is above `newBalance`; the lane
    /// stays open, and an exit that runs goes on.
    /// @dev The consent is a signature over {releaseDigest}; the new epoch kills it, and every other of the old (A9).
    function release(
        address provider,
        address signer,
        uint96 newBalance,
        uint40 deadline,
        bytes calldata providerSignature
    ) external nonReentrant {
        Lane storage lane_ = _requireRange(msg.sender, provider, signer, newBalance, deadline);
        uint96 toPayer = lane_.balance - newBalance;
        if (toPayer == 0) revert ZeroAmount();
        bytes32 digest = releaseDigest(msg.sender, provider, signer, lane_.epoch, newBalance, deadline);
        _requireConsent(provider, digest, providerSignature);
        lane_.balance = newBalance;
        _nextEpoch(lane_);
        emit Released(msg.sender, provider, signer, toPayer);
        _pay(msg.sender, toPayer);
    }

    // --- look --------------------------------------------------------------------------------------------------------

    /// @notice Seconds that a payer who chose no delay waits for its money: the time a provider has to redeem (A1).
    function exitDelay() external view returns (uint40) {
        return _seconds(defaultDelay);
    }

    /// @notice What payer and provider sign to close a lane together.
    function closeDigest(
        address payer,
        address provider,
        address signer,
        uint16 epoch,
        uint96 cumulative,
        uint40 deadline
    ) public view returns (bytes32) {
        return _consentDigest(CLOSE_TYPEHASH, Consent(payer, provider, signer, epoch, cumulative, deadline));
    }

    /// @notice What the provider signs to let the payer take back what is above `newBalance`.
    function releaseDigest(
        address payer,
        address provider,
        address signer,
        uint16 epoch,
        uint96 newBalance,
        uint40 deadline
    ) public view returns (bytes32) {
        return _consentDigest(RELEASE_TYPEHASH, Consent(payer, provider, signer, epoch, newBalance, deadline));
    }

    // --- inside ------------------------------------------------------------------------------------------------------

    /// @dev Never touches `exitAt`: else a stranger's dust could stop a payer's exit for ever (I7). Nor can a stranger
    /// choose a delay, to lock the payer in or to shorten the provider's window. The payer may shorten it only while
    /// the lane is empty: who holds vouchers on a balance keeps the window that it accepted them under (A1).
    function _fill(Deposit memory to) private {
        _requireParty(to.payer);
        _requireParty(to.provider);
        // A failed signature recovery yields the zero address; the lane it names must never hold anything (A10).
        _requireParty(to.signer);
        if (to.amount == 0) revert ZeroAmount();
        bytes32 id = laneId(to.payer, to.provider, to.signer);
        Lane memory lane_ = _lanes[id];
        if (to.delay != 0) {
            if (msg.sender != to.payer) revert NotThePayer(to.payer);
            if (to.delay < lane_.delay && lane_.balance != lane_.claimed) revert DelayMayOnlyGrow(lane_.delay);
            lane_.delay = to.delay;
            emit DelaySet(to.payer, to.provider, to.signer, _seconds(to.delay));
        } else if (lane_.delay == 0) {
            lane_.delay = defaultDelay;
        }
        lane_.balance += to.amount;
        _lanes[id] = lane_;
        emit Deposited(to.payer, to.provider, to.signer, to.amount);
    }

    /// @dev The tokens of a deposit by authorization are in the lane already when this is true.
    function _isSpent(address payer, bytes32 nonce) private view returns (bool) {
        try IERC3009(address(token)).authorizationState(payer, nonce) returns (bool spent) {
            return spent;
        } catch {
            // A token without authorizations has spent none.
            return false;
        }
    }

    /// @dev `claimed` grows to `cumulative` or stays; it never restarts at 0, or old vouchers would live again (I3).
    function _close(Lane storage lane_, address payer, address provider, address signer, uint96 cumulative) private {
        uint256 toProvider = cumulative - lane_.claimed;
        uint256 toPayer = lane_.balance - cumulative;
        (lane_.balance, lane_.claimed, lane_.exitAt) = (cumulative, cumulative, 0);
        _nextEpoch(lane_);
        emit LaneClosed(payer, provider, signer, toProvider, toPayer);
        _pay(provider, toProvider);
        _pay(payer, toPayer);
    }

    /// @dev Wraps after 65,536 closes of one lane. Alone the payer can bring about one per window, that is in years;
    /// a consent should have met its deadline by then.
    function _nextEpoch(Lane storage lane_) private {
        unchecked {
            ++lane_.epoch;
        }
    }

    /// @dev The lane, if it may be split at `cumulative` and the consents to that are still young enough.
    function _requireRange(address payer, address provider, address signer, uint96 cumulative, uint40 deadline)
        private
        view
        returns (Lane storage lane_)
    {
        if (block.timestamp > deadline) revert ConsentExpired(deadline);
        lane_ = _lanes[laneId(payer, provider, signer)];
        if (cumulative < lane_.claimed || cumulative > lane_.balance) {
            revert CumulativeOutOfRange(lane_.claimed, lane_.balance);
        }
    }

    function _requireConsent(address party, bytes32 digest, bytes calldata signature) private view {
        if (msg.sender != party && !_isSignedBy(party, digest, signature)) revert ConsentMissing(party);
    }

    function _consentDigest(bytes32 typehash, Consent memory consent) private view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(typehash, consent)));
    }
}
