// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title The escrow as its users see it, written down independently of its source.
interface IEscrow {
    struct Deposit {
        address payer;
        address provider;
        address signer;
        uint96 amount;
        uint8 delay;
    }

    event Deposited(address indexed payer, address indexed provider, address signer, uint256 amount);
    event DelaySet(address indexed payer, address indexed provider, address signer, uint256 delaySeconds);
    event Redeemed(address indexed provider, uint256 paid, uint256 rows);
    event ExitStarted(address indexed payer, address indexed provider, address signer, uint256 exitAt);
    event ExitCancelled(address indexed payer, address indexed provider, address signer);
    event Released(address indexed payer, address indexed provider, address signer, uint256 toPayer);
    event LaneClosed(
        address indexed payer, address indexed provider, address signer, uint256 toProvider, uint256 toPayer
    );
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

    error NotAToken(address token);
    error NotAParty(address account);
    error ZeroAmount();
    error TokenTookAFee(uint256 arrived, uint256 expected);
    error NoDefaultDelay();
    error DelayStepOutOfRange(uint256 delayStep);
    error NotThePayer(address payer);
    error DelayMayOnlyGrow(uint256 steps);
    error AuthorizationRefused();
    error AuthorizationSpent();
    error NotWholeRows(uint256 length);
    error NothingHeld();
    error ExitAlreadyRunning(uint256 exitAt);
    error NoExitRunning();
    error ExitNotDue(uint256 exitAt);
    error ConsentExpired(uint256 deadline);
    error CumulativeOutOfRange(uint256 claimed, uint256 balance);
    error ConsentMissing(address party);
    error NothingStaked(address provider);
    error StakeAlreadyLeaving(uint256 unlockAt);
    error StakeNotLeaving();
    error StakeLocked(uint256 unlockAt);
    error UnknownStatement(uint256 kind);
    error NoContradiction();
    error NotItsStatement(address provider);
    error AlreadyPunished();

    function token() external view returns (address);
    function delayStep() external view returns (uint40);
    function defaultDelay() external view returns (uint8);
    function stakeDelay() external view returns (uint40);
    function exitDelay() external view returns (uint40);

    function deposit(address payer, address provider, address signer, uint96 amount) external;
    function depositMany(Deposit[] calldata deposits) external;
    function depositWithPermit(
        address payer,
        address provider,
        address signer,
        uint96 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
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
    ) external;

    function redeemMany(address provider, bytes calldata packed) external returns (uint256 paid);
    function redeemManyTo(address to, bytes calldata packed) external returns (uint256 paid);
    function previewRedeem(address provider, bytes calldata packed) external view returns (uint256 paid);

    function startExit(address provider, address signer) external;
    function cancelExit(address provider, address signer) external;
    function finishExit(address payer, address provider, address signer) external;
    function closeTogether(
        address payer,
        address provider,
        address signer,
        uint96 cumulative,
        uint40 deadline,
        bytes calldata providerSignature,
        bytes calldata payerSignature
    ) external;
    function release(
        address provider,
        address signer,
        uint96 newBalance,
        uint40 deadline,
        bytes calldata providerSignature
    ) external;

    function addStake(uint96 amount) external;
    function leaveStake() external;
    function takeStake() external;
    function slashEquivocation(
        address provider,
        uint8 kind,
        bytes32 subject,
        uint64 seq,
        bytes32 bodyA,
        bytes calldata sigA,
        bytes32 bodyB,
        bytes calldata sigB
    ) external;
    function stakeOf(address provider) external view returns (uint96 amount, uint40 unlockAt);

    function lane(address payer, address provider, address signer)
        external
        view
        returns (uint96 balance, uint96 claimed, uint40 exitAt, uint40 delaySeconds, uint16 epoch);
    function laneId(address payer, address provider, address signer) external pure returns (bytes32);
    function voucherDigest(address payer, address provider, uint96 cumulative) external view returns (bytes32);
    function closeDigest(
        address payer,
        address provider,
        address signer,
        uint16 epoch,
        uint96 cumulative,
        uint40 deadline
    ) external view returns (bytes32);
    function releaseDigest(
        address payer,
        address provider,
        address signer,
        uint16 epoch,
        uint96 newBalance,
        uint40 deadline
    ) external view returns (bytes32);
    function statementDigest(uint8 kind, bytes32 subject, uint64 seq, bytes32 body) external view returns (bytes32);
}

/// @title What the tests ask of a token: the shipped test token, and odd ones.
interface IToken {
    function mint(address account, uint256 amount) external;
    function approve(address spender, uint256 amount) external;
    function allowance(address owner, address spender) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
    function balanceOf(address account) external view returns (uint256);
    function nonces(address owner) external view returns (uint256);
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
    function DOMAIN_SEPARATOR() external view returns (bytes32);
}
