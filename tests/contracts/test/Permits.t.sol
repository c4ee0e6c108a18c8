// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow, IToken} from "./Escrow.sol";
import {SignedDeposits} from "./SignedDeposits.sol";

/// @title Money comes in by signature: EIP-2612 permits and EIP-3009 authorizations, and what happens when they fail.
contract PermitsTest is SignedDeposits {
    uint256 private constant LATER = 1_800_000_100;

    function setUp() public {
        _deployAll();
        token.mint(sides.payer, 100);
        token.mint(stranger, 100);
    }

    function _approved(address owner, uint256 amount) private {
        vm.prank(owner);
        token.approve(address(escrow), amount);
    }

    // --- permits

    function test_a_permit_takes_the_place_of_an_approval() public {
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(sides.payer, sides.provider, sides.signer, 40);
        require(_tried(stranger, _call(_permitted(STRANGER, sides, 40, LATER))), "the sender's own permit");
        _same(_lane(sides).balance, 40, "balance");
        _same(token.balanceOf(stranger), 60, "who signed pays");
        _same(_lane(sides).delaySeconds, WINDOW, "delay");
    }

    function test_a_permit_that_somebody_used_up_before_still_counts() public {
        Permitted memory made = _permitted(PAYER, sides, 40, LATER);
        token.permit(sides.payer, address(escrow), 40, LATER, made.v, made.r, made.s);
        require(_tried(sides.payer, _call(made)), "A17: the allowance is there");
        _same(_lane(sides).balance, 40, "balance");
        require(!_tried(sides.payer, _call(made)), "and is spent");
    }

    function test_a_bad_permit_and_no_allowance_pays_nothing() public {
        require(!_tried(stranger, _call(_permitted(PAYER, sides, 40, LATER))), "somebody else's permit");
        require(!_tried(sides.payer, _call(_permitted(PAYER, sides, 40, block.timestamp - 1))), "an old permit");
        Permitted memory made = _permitted(PAYER, sides, 40, LATER);
        made.amount = 41;
        require(!_tried(sides.payer, _call(made)), "another amount");
        _same(_lane(sides).balance, 0, "balance");
        _approved(sides.payer, 41);
        require(_tried(sides.payer, _call(made)), "the allowance decides");
        _same(_lane(sides).balance, 41, "balance");
    }

    function test_a_permitted_deposit_obeys_the_rules_of_deposits() public {
        _refused(sides.payer, _call(_permitted(PAYER, sides, 0, LATER)), IEscrow.ZeroAmount.selector);
        Permitted memory made = _permitted(PAYER, sides, 1, LATER);
        made.to.signer = address(0);
        _refused(sides.payer, _call(made), IEscrow.NotAParty.selector, address(0));
    }

    // --- authorizations

    function test_anyone_may_send_an_authorization() public {
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(sides.payer, sides.provider, sides.signer, 40);
        require(_tried(stranger, _call(_authorized(PAYER, sides, 40, "salt", LATER))), "sent by a stranger");
        _same(_lane(sides).balance, 40, "balance");
        _same(token.balanceOf(sides.payer), 60, "the payer pays");
        _same(token.balanceOf(stranger), 100, "the sender does not");
        require(_tried(sides.payer, _call(_authorized(PAYER, sides, 40, "another", LATER))), "sent by the payer");
        _same(_lane(sides).balance, 80, "another salt is another deposit");
    }

    function test_an_authorization_is_bound_to_its_lane() public {
        Authorized memory made = _authorized(PAYER, sides, 40, "salt", LATER);
        for (uint256 place; place < 2; ++place) {
            made.to = Sides(sides.payer, sides.provider, sides.signer);
            if (place == 0) made.to.provider = stranger;
            else made.to.signer = stranger;
            _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        }
        made = _authorized(PAYER, sides, 40, "salt", LATER);
        made.salt = "other";
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        made = _authorized(PAYER, sides, 40, "salt", LATER);
        made.amount = 41;
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        made = _authorized(PAYER, sides, 40, "salt", LATER);
        made.to.payer = stranger;
        _approved(stranger, 100);
        _refused(sides.payer, _call(made), IEscrow.AuthorizationRefused.selector);
    }

    function test_an_authorization_has_its_time() public {
        Authorized memory made = _authorized(PAYER, sides, 40, "salt", LATER);
        vm.warp(LATER - 500);
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        vm.warp(LATER);
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        vm.warp(LATER - 1);
        require(_tried(stranger, _call(made)), "just in time");
    }

    function test_an_authorization_is_never_paid_twice() public {
        Authorized memory made = _authorized(PAYER, sides, 40, "salt", LATER);
        require(_tried(stranger, _call(made)), "first");
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        _approved(sides.payer, 60);
        _refused(sides.payer, _call(made), IEscrow.AuthorizationSpent.selector);
        _same(_lane(sides).balance, 40, "balance");
    }

    function test_the_payer_falls_back_on_its_allowance_and_nobody_elses() public {
        Authorized memory made = _authorized(PAYER, sides, 40, "salt", LATER);
        made.v = made.v == 27 ? 28 : 27;
        _approved(stranger, 100);
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        require(!_tried(sides.payer, _call(made)), "no allowance");
        _approved(sides.payer, 40);
        require(_tried(sides.payer, _call(made)), "A17");
        _same(_lane(sides).balance, 40, "balance");
        _same(token.balanceOf(sides.payer), 60, "paid once");
        _same(token.allowance(sides.payer, address(escrow)), 0, "by allowance");
    }

    function test_an_authorized_deposit_obeys_the_rules_of_deposits() public {
        Sides memory nobody = Sides(sides.payer, sides.provider, address(0));
        _refused(stranger, _call(_authorized(PAYER, nobody, 1, "a", LATER)), IEscrow.NotAParty.selector, address(0));
        _refused(stranger, _call(_authorized(PAYER, sides, 0, "a", LATER)), IEscrow.ZeroAmount.selector);
    }

    // --- tokens that know neither

    function test_a_plain_token_is_paid_by_allowance() public {
        token = _deployOddToken("TinyToken");
        escrow = IEscrow(_deployEscrow(address(token), STEP, DEFAULT_STEPS));
        token.mint(sides.payer, 100);
        Authorized memory made = Authorized(sides, 40, 0, LATER, "salt", 27, "r", "s");
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        _approved(sides.payer, 80);
        require(_tried(sides.payer, _call(made)), "authorization");
        require(_tried(sides.payer, _call(Permitted(sides, 40, LATER, 27, "r", "s"))), "permit");
        _same(_lane(sides).balance, 80, "balance");
        _same(token.balanceOf(address(escrow)), 80, "held");
    }

    function test_a_token_that_accepts_everything_gives_no_credit() public {
        token = _deployOddToken("SilentToken");
        escrow = IEscrow(_deployEscrow(address(token), STEP, DEFAULT_STEPS));
        token.mint(sides.payer, 100);
        Authorized memory made = Authorized(sides, 40, 0, LATER, "salt", 27, "r", "s");
        bytes memory nothingCame = abi.encodeWithSelector(IEscrow.TokenTookAFee.selector, 0, 40);
        _refused(stranger, _call(made), nothingCame);
        _refused(sides.payer, _call(made), nothingCame);
        require(!_tried(sides.payer, _call(Permitted(sides, 40, LATER, 27, "r", "s"))), "permit without effect");
        _same(_lane(sides).balance, 0, "balance");
    }
}
