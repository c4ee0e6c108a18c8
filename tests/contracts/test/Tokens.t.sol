// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow, IToken} from "./Escrow.sol";
import {Rig} from "./Rig.sol";

interface IHookToken is IToken {
    function arm(address target, bytes calldata call_) external;
    function succeeded() external view returns (bool);
    function answer() external view returns (bytes memory);
}

/// @title A token that refuses empty transfers, and can be made to refuse any by its answer alone, or to bring more.
contract MoodyToken {
    mapping(address account => uint256) public balanceOf;
    bool public refuses;
    uint256 public bonus;

    function mint(address account, uint256 amount) external {
        balanceOf[account] += amount;
    }

    function refuse(bool refuses_) external {
        refuses = refuses_;
    }

    function bring(uint256 bonus_) external {
        bonus = bonus_;
    }

    function approve(address, uint256) external pure returns (bool) {
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return transferFrom(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public returns (bool) {
        require(amount != 0, "an empty transfer");
        if (refuses) return false;
        balanceOf[from] -= amount;
        balanceOf[to] += amount + bonus;
        return true;
    }
}

/// @title The escrow with tokens that keep fees, call back, return nothing, or refuse; and how it is deployed.
contract TokensTest is Rig {
    bytes4 private constant REENTERED = bytes4(keccak256("ReentrancyGuardReentrantCall()"));

    function setUp() public {
        _deployAll();
    }

    function _with(address token_) private {
        token = IToken(token_);
        escrow = IEscrow(_deployEscrow(token_, STEP, DEFAULT_STEPS));
        token.mint(address(this), 1e6);
        token.mint(sides.provider, 1e6);
        token.approve(address(escrow), type(uint256).max);
        vm.prank(sides.provider);
        token.approve(address(escrow), type(uint256).max);
    }

    function _refusesToBeMade(address token_, uint40 step, uint8 steps) private {
        require(_create(bytes.concat(_escrowCode(), abi.encode(token_, step, steps))) == address(0), "was deployed");
    }

    function test_it_is_deployed_within_limits_only() public {
        _refusesToBeMade(stranger, STEP, 1);
        _refusesToBeMade(address(0), STEP, 1);
        _refusesToBeMade(address(token), 0, 1);
        _refusesToBeMade(address(token), 1 hours + 1, 1);
        _refusesToBeMade(address(token), type(uint40).max, 1);
        _refusesToBeMade(address(token), STEP, 0);
        IEscrow longest = IEscrow(_deployEscrow(address(token), 1 hours, 255));
        _same(longest.exitDelay(), 255 hours, "window");
        _same(longest.stakeDelay(), 510 hours, "stake window");
        _same(IEscrow(_deployEscrow(address(token), 1, 1)).exitDelay(), 1, "window");
    }

    function test_a_token_with_fees_is_refused() public {
        _with(address(_deployOddToken("FeeToken")));
        bytes memory call_ = abi.encodeCall(IEscrow.deposit, (sides.payer, sides.provider, sides.signer, 200));
        _refused(address(this), call_, abi.encodeWithSelector(IEscrow.TokenTookAFee.selector, 198, 200));
        bytes memory add = abi.encodeCall(IEscrow.addStake, (200));
        _refused(sides.provider, add, abi.encodeWithSelector(IEscrow.TokenTookAFee.selector, 198, 200));
        _same(_lane(sides).balance, 0, "balance");
    }

    function test_a_token_without_answers_works() public {
        _with(address(_deployOddToken("SilentToken")));
        _deposit(sides, 100);
        _same(escrow.redeemMany(sides.provider, _row(SESSION, sides, 40)), 40, "paid");
        vm.prank(sides.payer);
        escrow.startExit(sides.provider, sides.signer);
        vm.warp(block.timestamp + WINDOW);
        escrow.finishExit(sides.payer, sides.provider, sides.signer);
        _same(token.balanceOf(sides.payer), 60, "payer");
        _same(token.balanceOf(address(escrow)), 0, "I1");
    }

    function test_a_transfer_that_only_says_no_undoes_the_books() public {
        MoodyToken moody = new MoodyToken();
        _with(address(moody));
        moody.refuse(true);
        bytes memory deposit = abi.encodeCall(IEscrow.deposit, (sides.payer, sides.provider, sides.signer, 100));
        bytes memory failed = abi.encodeWithSignature("SafeERC20FailedOperation(address)", address(token));
        _refused(address(this), deposit, failed);
        moody.refuse(false);
        _deposit(sides, 100);
        bytes memory row = _row(SESSION, sides, 40);
        moody.refuse(true);
        _refused(stranger, abi.encodeCall(IEscrow.redeemMany, (sides.provider, row)), failed);
        moody.refuse(false);
        _same(escrow.redeemMany(sides.provider, row), 40, "nothing was lost");
    }

    function test_a_token_that_brings_more_than_it_took_is_refused() public {
        MoodyToken moody = new MoodyToken();
        _with(address(moody));
        moody.bring(1);
        bytes memory call_ = abi.encodeCall(IEscrow.deposit, (sides.payer, sides.provider, sides.signer, 200));
        _refused(address(this), call_, abi.encodeWithSelector(IEscrow.TokenTookAFee.selector, 201, 200));
    }

    function test_no_empty_transfer_is_ever_sent() public {
        _with(address(new MoodyToken()));
        _same(escrow.redeemMany(sides.provider, _row(SESSION, sides, 40)), 0, "I10: nothing to pay");
        _deposit(sides, 100);
        escrow.redeemMany(sides.provider, _row(SESSION, sides, 99));
        vm.prank(sides.payer);
        escrow.startExit(sides.provider, sides.signer);
        escrow.redeemMany(sides.provider, _row(SESSION, sides, 100));
        vm.warp(block.timestamp + WINDOW);
        escrow.finishExit(sides.payer, sides.provider, sides.signer);
        vm.prank(sides.provider);
        escrow.addStake(1);
        require(_tried(address(this), _slash()), "a bounty of nothing");
    }

    function test_nothing_can_be_called_from_inside_a_transfer() public {
        _with(address(_deployOddToken("HookToken")));
        bytes[] memory inner = _guarded();
        for (uint256 i; i < inner.length; ++i) {
            _reenters(abi.encodeCall(IEscrow.deposit, (sides.payer, sides.provider, sides.signer, 100)), inner[i]);
        }
        bytes memory again = inner[0];
        _reenters(abi.encodeCall(IEscrow.redeemMany, (sides.provider, _row(SESSION, sides, 10))), again);
        _reenters(_twice(), again);
        vm.prank(sides.payer);
        escrow.startExit(sides.provider, sides.signer);
        vm.warp(block.timestamp + WINDOW);
        _reenters(abi.encodeCall(IEscrow.finishExit, (sides.payer, sides.provider, sides.signer)), again);
        vm.prank(sides.provider);
        escrow.addStake(8);
        _reenters(_slash(), again);
    }

    function _reenters(bytes memory outer, bytes memory inner) private {
        IHookToken hook = IHookToken(address(token));
        hook.arm(address(escrow), inner);
        (bool done,) = address(escrow).call(outer);
        require(done, "the call itself failed");
        require(!hook.succeeded() && bytes4(hook.answer()) == REENTERED, "A11: came in again");
    }

    /// @dev Every function that moves tokens, with arguments of no matter: the guard comes before any look at them.
    function _guarded() private view returns (bytes[] memory all) {
        (address a, address b, address c) = (sides.payer, sides.provider, sides.signer);
        all = new bytes[](12);
        all[0] = abi.encodeCall(IEscrow.deposit, (a, b, c, 1));
        all[1] = abi.encodeCall(IEscrow.depositMany, (new IEscrow.Deposit[](1)));
        all[2] = bytes.concat(IEscrow.depositWithPermit.selector, abi.encode(a, b, c, 1, 0, 27, 0, 0));
        all[3] = bytes.concat(IEscrow.depositWithAuthorization.selector, abi.encode(a, b, c, 1, 0, 0), new bytes(128));
        all[4] = abi.encodeCall(IEscrow.redeemMany, (b, ""));
        all[5] = abi.encodeCall(IEscrow.redeemManyTo, (b, ""));
        all[6] = abi.encodeCall(IEscrow.finishExit, (a, b, c));
        all[7] = abi.encodeCall(IEscrow.closeTogether, (a, b, c, 1, 0, "", ""));
        all[8] = abi.encodeCall(IEscrow.release, (b, c, 1, 0, ""));
        all[9] = abi.encodeCall(IEscrow.addStake, (1));
        all[10] = abi.encodeCall(IEscrow.takeStake, ());
        all[11] = _slash();
    }

    function _twice() private view returns (bytes memory) {
        IEscrow.Deposit[] memory two = new IEscrow.Deposit[](2);
        two[0] = IEscrow.Deposit(sides.payer, sides.provider, sides.signer, 5, 0);
        two[1] = two[0];
        return abi.encodeCall(IEscrow.depositMany, (two));
    }

    function _slash() private view returns (bytes memory) {
        bytes memory a = _sign(PROVIDER, _statementDigest(0, "lease", 1, "a"));
        bytes memory b = _sign(PROVIDER, _statementDigest(0, "lease", 1, "b"));
        return abi.encodeCall(IEscrow.slashEquivocation, (sides.provider, 0, "lease", 1, "a", a, "b", b));
    }
}
