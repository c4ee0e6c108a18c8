// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Vault} from "./Vault.sol";

/// @title ProviderStake: what a provider puts up, and loses when it signs two stories of one thing.
/// @dev Only a fault that proves itself is punished here: two statements, signed by the provider's own account, with
/// one subject and one number but different bodies. Bad work cannot be proven to a contract, and is not its business.
abstract contract ProviderStake is Vault {
    /// @dev One storage slot. `unlockAt` is 0 while the stake is not leaving.
    struct Stake {
        uint96 amount;
        uint40 unlockAt;
    }

    /// @notice What two statements contradict each other about.
    /// @param kind 0 for a receipt (`subject` is the lease), 1 for a grant (`subject` is the slot that was sold).
    struct Subject {
        uint8 kind;
        bytes32 subject;
        uint64 seq;
    }

    bytes32 public constant RECEIPT_TYPEHASH = keccak256("Receipt(bytes32 lease,uint64 seq,bytes32 body)");
    bytes32 public constant GRANT_TYPEHASH = keccak256("Grant(bytes32 slot,uint64 seq,bytes32 body)");

    uint8 private constant RECEIPT = 0;
    uint8 private constant GRANT = 1;
    /// @dev Of what is taken, one part in this many goes to who brought the proof, and the rest to nobody. So a
    /// provider that reports itself still loses three quarters of it (A16).
    uint256 private constant BOUNTY_PART = 4;
    /// @dev Many tokens refuse transfers to the zero address; nobody holds the key of this one.
    address private constant NOBODY = 0x000000000000000000000000000000000000dEaD;

    /// @notice Seconds from {leaveStake} to {takeStake}.
    uint40 public immutable stakeDelay;

    mapping(address provider => Stake) private _stakes;
    mapping(bytes32 fault => bool) private _punished;

    event StakeChanged(address indexed provider, uint256 amount, uint256 unlockAt);
    event Slashed(
        address indexed provider,
        address indexed reporter,
        uint8 kind,
        bytes32 subject,
        uint64 seq,
        uint256 bounty,
        uint256 burnt
    );

    error NothingStaked(address provider);
    error StakeAlreadyLeaving(uint256 unlockAt);
    error StakeNotLeaving();
    error StakeLocked(uint256 unlockAt);
    error UnknownStatement(uint256 kind);
    error NoContradiction();
    error NotItsStatement(address provider);
    error AlreadyPunished();

    constructor(uint40 stakeDelay_) {
        stakeDelay = stakeDelay_;
    }

    /// @notice The sender stakes `amount` more. A leave that runs is off: new money must not come out early with old.
    function addStake(uint96 amount) external nonReentrant {
        if (amount == 0) revert ZeroAmount();
        Stake storage stake = _stakes[msg.sender];
        (stake.amount, stake.unlockAt) = (stake.amount + amount, 0);
        emit StakeChanged(msg.sender, stake.amount, 0);
        _collect(amount);
    }

    /// @notice The sender starts to take its stake out. Until it has, the stake can still be slashed.
    function leaveStake() external {
        Stake storage stake = _stakes[msg.sender];
        if (stake.amount == 0) revert NothingStaked(msg.sender);
        if (stake.unlockAt != 0) revert StakeAlreadyLeaving(stake.unlockAt);
        stake.unlockAt = uint40(block.timestamp) + stakeDelay;
        emit StakeChanged(msg.sender, stake.amount, stake.unlockAt);
    }

    /// @notice The sender takes out what is left of its stake, once its time is over (I13).
    function takeStake() external nonReentrant {
        Stake memory stake = _stakes[msg.sender];
        if (stake.unlockAt == 0) revert StakeNotLeaving();
        if (block.timestamp < stake.unlockAt) revert StakeLocked(stake.unlockAt);
        delete _stakes[msg.sender];
        emit StakeChanged(msg.sender, 0, 0);
        _pay(msg.sender, stake.amount);
    }

    /// @notice Anyone with two statements of `provider` on one subject and number, but with different bodies: half of
    /// its stake is taken, a quarter of that for the sender, the rest for nobody (A15).
    /// @dev Once per subject and number, however many bodies there are. While nothing is staked nothing is used up.
    function slashEquivocation(
        address provider,
        uint8 kind,
        bytes32 subject,
        uint64 seq,
        bytes32 bodyA,
        bytes calldata sigA,
        bytes32 bodyB,
        bytes calldata sigB
    ) external nonReentrant {
        if (bodyA == bodyB) revert NoContradiction();
        if (!_isSignedBy(provider, statementDigest(kind, subject, seq, bodyA), sigA)) revert NotItsStatement(provider);
        if (!_isSignedBy(provider, statementDigest(kind, subject, seq, bodyB), sigB)) revert NotItsStatement(provider);
        _punish(provider, Subject(kind, subject, seq));
    }

    /// @notice A provider's stake, and the UTC second from which it can be taken out; 0 while it is not leaving.
    function stakeOf(address provider) external view returns (uint96 amount, uint40 unlockAt) {
        Stake storage stake = _stakes[provider];
        return (stake.amount, stake.unlockAt);
    }

    /// @notice What a provider signs to state `body` about a subject.
    function statementDigest(uint8 kind, bytes32 subject, uint64 seq, bytes32 body) public view returns (bytes32) {
        if (kind > GRANT) revert UnknownStatement(kind);
        bytes32 typehash = kind == RECEIPT ? RECEIPT_TYPEHASH : GRANT_TYPEHASH;
        return _hashTypedDataV4(keccak256(abi.encode(typehash, subject, seq, body)));
    }

    function _punish(address provider, Subject memory what) private {
        bytes32 fault = keccak256(abi.encode(provider, what));
        if (_punished[fault]) revert AlreadyPunished();
        Stake storage stake = _stakes[provider];
        uint96 kept = stake.amount / 2;
        uint256 taken = stake.amount - kept;
        if (taken == 0) revert NothingStaked(provider);
        _punished[fault] = true;
        stake.amount = kept;
        uint256 bounty = taken / BOUNTY_PART;
        emit Slashed(provider, msg.sender, what.kind, what.subject, what.seq, bounty, taken - bounty);
        _pay(msg.sender, bounty);
        _pay(NOBODY, taken - bounty);
    }
}
